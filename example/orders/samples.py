"""Orders to play with, each with a cover drawn by Pillow."""

from io import BytesIO

from django.core.files.base import ContentFile
from django.utils.crypto import get_random_string
from PIL import Image, ImageDraw, ImageFont

from .models import Order

COVER_SIZE = (600, 900)
BOOKS = {  # title: (cents, colour of the cover)
    "Moby-Dick": (1250, "steelblue"),
    "Middlemarch": (1490, "darkolivegreen"),
    "Dracula": (990, "darkred"),
    "Emma": (1100, "palevioletred"),
    "Walden": (870, "seagreen"),
    "Ulysses": (1990, "goldenrod"),
}


def new_orders() -> list[Order]:
    """Return an order of each book, not saved; saving puts its cover in MEDIA_ROOT."""
    return [
        Order(
            customer_email=f"reader{number}@example.org",
            title=title,
            amount_cents=amount_cents,
            cover=ContentFile(
                draw_cover(title, colour), name=f"{get_random_string(12)}.png"
            ),
        )
        for number, (title, (amount_cents, colour)) in enumerate(BOOKS.items(), 1)
    ]


def draw_cover(title: str, colour: str) -> bytes:
    """Return a PNG picture with a title on it."""
    width, height = COVER_SIZE
    image = Image.new("RGB", COVER_SIZE, colour)
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 30, width - 30, height - 30), outline="white", width=6)
    font = ImageFont.load_default(size=72)
    draw.text((width / 2, height / 3), title, fill="white", font=font, anchor="mm")
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()

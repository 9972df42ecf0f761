"use strict";
(() => {
  const canvases = [...document.querySelectorAll(".canvas")];
  const specs = new Map();
  const config = { displayModeBar: false, displaylogo: false, scrollZoom: false };

  const specOf = (canvas) => {
    if (!specs.has(canvas)) {
      specs.set(canvas, JSON.parse(canvas.parentElement.querySelector("script").text));
    }
    return specs.get(canvas);
  };

  // Fill in colours: "$ink" is the CSS variable --ink of the theme that is shown now.
  const coloured = (value, css) => {
    if (typeof value === "string" && value[0] === "$") {
      return css.getPropertyValue("--" + value.slice(1)).trim();
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, css));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, each]) => [key, coloured(each, css)])
      );
    }
    return value;
  };

  // A phone has room for powers of ten alone.
  const ticks = (own, isNarrow) =>
    own.type === "log" && own.range && isNarrow
      ? own.ticktext.map((text, n) => (Math.log10(own.tickvals[n]) % 1 ? "" : text))
      : own.ticktext;

  const axis = (own, isNarrow) => ({
    gridcolor: "$grid", linecolor: "$rule", zerolinecolor: "$rule", zerolinewidth: 1,
    fixedrange: true, tickangle: 0, separatethousands: true, exponentformat: "none", ...own, ticktext: ticks(own, isNarrow), title: { standoff: 8, ...own.title },
  });

  const layoutOf = (canvas, own) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: "$ink" },
    margin: { l: 58, r: 14, t: 8, b: 46 },
    hovermode: "closest", dragmode: false, showlegend: false,
    hoverlabel: { bgcolor: "$raised", bordercolor: "$rule", font: { color: "$ink" } },
    ...own,
    width: canvas.clientWidth, height: Number(canvas.parentElement.dataset.height),
    xaxis: axis(own.xaxis, canvas.clientWidth < 560), yaxis: axis(own.yaxis, false),
  });

  const MARKS = {
    circle: "\u25cf", square: "\u25a0", diamond: "\u25c6", "triangle-up": "\u25b2",
    x: "\u2716", cross: "\u271a", star: "\u2605",
  };
  const DASHES = { solid: "none", dash: "6 3", dot: "1.5 2.5" };

  // Name the lines beneath a plot: buttons, that a keyboard reaches, show and hide them.
  const svg = (name, attributes) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    return found;
  };
  const nameOf = (canvas, trace) => {
    const colour = `var(--${trace.line.color.slice(1)})`;
    const sample = svg("svg", { width: 34, height: 14, "aria-hidden": "true" });
    const line = svg("line", {
      x1: 0, x2: 34, y1: 7, y2: 7, "stroke-width": 2, "stroke-dasharray": DASHES[trace.line.dash],
    });
    const mark = svg("text", { x: 17, y: 11.5, "text-anchor": "middle", "font-size": 13 });
    mark.textContent = MARKS[trace.marker.symbol] + "\ufe0e";
    line.style.stroke = mark.style.fill = colour;
    sample.append(line, mark);
    const button = document.createElement("button");
    button.type = "button";
    button.ariaPressed = "true";
    button.append(sample, trace.name);
    button.addEventListener("click", () => {
      trace.visible = trace.visible === false;
      button.ariaPressed = String(trace.visible);
      draw(canvas);
    });
    return button;
  };

  const draw = async (canvas) => {
    if (!canvas.clientWidth) {
      canvas.dataset.width = ""; // hidden now; drawn again when it has a width
      return;
    }
    const { data, layout } = specOf(canvas);
    const css = getComputedStyle(document.documentElement);
    const full = layoutOf(canvas, layout);
    const names = canvas.parentElement.querySelector(".names");
    if (names && !names.childElementCount) {
      names.append(...data.map((trace) => nameOf(canvas, trace)));
    }
    canvas.dataset.width = full.width;
    await Plotly.react(canvas, coloured(data, css), coloured(full, css), config);
    canvas.dataset.drawn = "1";
  };

  const drawn = () => canvases.filter((canvas) => canvas.dataset.drawn);
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !target.dataset.drawn) draw(target);
    }
  }, { rootMargin: "600px" });
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const changed = target.clientWidth !== Number(target.dataset.width);
      if (target.dataset.drawn && target.clientWidth && changed) draw(target);
    }
  });
  for (const canvas of canvases) {
    seen.observe(canvas);
    sized.observe(canvas);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn().forEach(draw));
  addEventListener("beforeprint", () => canvases.forEach(draw));

  const contents = document.querySelector(".contents details");
  if (!matchMedia("(min-width: 64rem)").matches) contents.open = false;

  const state = document.getElementById("download-state");
  const unpack = async () => {
    const text = document.getElementById("raw").text.trim();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).blob();
  };
  document.getElementById("download").addEventListener("click", async () => {
    const link = document.createElement("a");
    const raw = await unpack();
    link.href = URL.createObjectURL(new Blob([raw], { type: "application/json" }));
    link.download = "taskbridge-bench.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    state.textContent = `${raw.size.toLocaleString("en")} bytes`;
  });
})();

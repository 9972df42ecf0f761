"""Measures queue libraries by their own API (native) and through TaskBridge."""

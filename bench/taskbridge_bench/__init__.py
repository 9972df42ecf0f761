"""Measures queue libraries: native, and through TaskBridge, bridge and durable."""

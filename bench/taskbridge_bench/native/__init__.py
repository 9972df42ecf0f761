"""The native lane: each library as its own documentation uses it, no TaskBridge."""

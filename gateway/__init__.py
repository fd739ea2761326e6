"""The door to what is served: keys, limits, uploads, and HTTP as clients know it. It imports nothing else of ours."""

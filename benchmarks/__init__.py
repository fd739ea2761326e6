"""Speed and quality as ratios measured side by side in one run; never shipped, may import anything."""

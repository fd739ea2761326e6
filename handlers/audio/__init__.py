"""What requests for sound share: their parameters, the sounds in the making, and how they are sent."""

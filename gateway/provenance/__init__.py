"""Where a file comes from: marks and signatures on what is sent, and what is found in a file that somebody brings."""

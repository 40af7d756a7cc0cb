"""What tlee itself is held to: measurements of its parts, most of them with a goal."""

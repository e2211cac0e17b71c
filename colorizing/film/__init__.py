"""From a film to a coloured one: frames read and written, colours held steady, hints that follow."""

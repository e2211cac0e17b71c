"""What every part of the project shares: errors, files, images, and the command line."""

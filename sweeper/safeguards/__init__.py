"""What keeps foreign text, foreign files and our own outputs from doing harm."""

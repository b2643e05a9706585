"""Labels for images, by an export."""

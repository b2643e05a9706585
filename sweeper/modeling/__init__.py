"""Networks: backbones of timm and of users, a head, and which weights learn."""

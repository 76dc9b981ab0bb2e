"""Side chain: from the image of a short acquisition to that of a long one."""

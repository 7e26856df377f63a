"""Draw a detector's boxes on pictures and videos, with the boxes as COCO JSON beside them."""

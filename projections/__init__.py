"""Pure folds from events to views, and the tables that cache them."""

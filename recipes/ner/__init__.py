"""Named entities: tokens -> spans of kinds."""

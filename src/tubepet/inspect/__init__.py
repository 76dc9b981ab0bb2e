"""Is there a defect in a part, where, how large, how sure; and what can be found at all."""

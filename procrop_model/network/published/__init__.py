"""The published network (METHOD 4), for comparison and for starting from its weights."""

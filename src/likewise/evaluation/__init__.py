"""How good the search is: metrics, baselines, intervals, a verdict, and the report that shows them."""

"""How good the search is: metrics, rivals, intervals, a verdict, and the report that shows them."""

"""Is production healthy: metrics, server figures over time, and what reranking does to the order it is given."""

"""Judged queries and relevance from files: tables, TREC qrels, BEIR folders, query logs."""

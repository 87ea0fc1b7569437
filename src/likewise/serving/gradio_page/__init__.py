"""The search page of `likewise demo`, built with Gradio."""

"""What an evaluation or a training shows people: HTML report, charts, tables, model card."""

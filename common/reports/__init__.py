"""What a run shows people: the HTML report and comparisons of models. Reports know no recipe."""

"""The reports, their figures and ours side by side; one module per report."""

"""The training loop with its optimizer, schedules, phases, weight transfer and distribution. It prints and saves
nothing; commands do.
"""

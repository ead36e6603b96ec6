"""The checks of the exercises: a module for each chapter, with the properties that it tries.

Each has one function, `check`, which takes the reader's attempt and says "solved: ...", or
"not yet: ..." and why. The notebooks use it; nothing else in the package imports it.

A check tries what the goal of its exercise says on more than one input, so that an attempt that is
made for the check's own values fails too. Wrong answers, and what they are told, are in
tests/exercises.
"""

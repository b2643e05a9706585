"""What every engine, data layout, pruner and task must do, whoever writes it.

Pruners and tasks are found by the unions of the configuration, layouts by their names there: one that is new is tested
without being asked for, and fails where these tests have to know it. An engine is added to `ENGINES`.
"""

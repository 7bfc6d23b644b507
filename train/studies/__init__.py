"""Studies: a question, what is trained for it, the robots that judge, and what may be concluded.

A study is data (`train.studies.plan.Study`); one engine (`train.studies.run`) trains and judges any
of them. The study called ``strength`` is ``STUDY`` in train/studies/strength.py; one of your own is
named ``module:STUDY``.
"""

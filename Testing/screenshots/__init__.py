"""The pictures of the README: the module in each state of the work, beside Slicer's views, drawn without a screen.

    make screenshots COHORT=build/hn      # a copy of this cohort is pictured
    make screenshots                      # phantoms, after a short training

* `cohorts`: the cohort that is pictured, with a model, predictions and a ranking.
* `workplace`: the module in a scene, driven as a person drives it.
* `window`: panel and views side by side, in one picture.
* `pictures`: what is pictured; each picture is a function.

Slicer's own widgets, such as the Segment Editor, are those of the stand-in, so they look a little different in Slicer.
"""

"""From a query to passages: the search flow, learnt weights, filters as people write them, and explanations.

:func:`headwater.retrieval.search.retrieve` is the flow. Nothing is imported here: the index imports parts of this
package's neighbours, and this package the index.
"""

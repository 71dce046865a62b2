# SPDX-License-Identifier: MIT
"""An intrusive red-black tree: embed an rb_node as the first member, link it yourself, then balance.

Header only, so that each module has its own inlined copy. child[0] is the lower side; a mirrored case is the same code
with the side swapped.

A node may have an offer, a number (rb_offer), by which a search skips whole subtrees: most is never less than the
greatest offer below it. That it may be greater keeps insertion and removal from walking to the root: whoever searches a
subtree in vain puts it right.
"""

from scatterlist.types cimport u16

cdef struct rb_node:
    rb_node *parent
    rb_node *child[2]
    unsigned int red
    u16 offer
    u16 most                    # of the offers in this subtree: a bound from above

cdef inline void rb_replace_child(rb_node **root, rb_node *parent, rb_node *old, rb_node *new) noexcept nogil:
    if parent == NULL:
        root[0] = new
    else:
        parent.child[parent.child[1] == old] = new

cdef inline void rb_rotate(rb_node **root, rb_node *n, int side) noexcept nogil:
    """n sinks to the given side; its child of the other side takes its place."""
    cdef rb_node *up = n.child[1 - side]
    n.child[1 - side] = up.child[side]
    if up.child[side] != NULL:
        up.child[side].parent = n
    up.parent = n.parent
    rb_replace_child(root, n.parent, n, up)
    up.child[side] = n
    n.parent = up
    up.most = n.most

cdef inline bint rb_is_red(const rb_node *n) noexcept nogil:
    return n != NULL and n.red

cdef inline void rb_insert(rb_node **root, rb_node *parent, int side, rb_node *n) noexcept nogil:
    """Hang n under parent (NULL: the tree is empty), where there is no child yet, and balance."""
    cdef rb_node *grand
    cdef rb_node *uncle
    n.parent = parent
    n.child[0] = n.child[1] = NULL
    n.red = 1
    n.offer = n.most = 0
    if parent == NULL:
        root[0] = n
    else:
        parent.child[side] = n
    while parent != NULL and parent.red:
        grand = parent.parent
        side = grand.child[1] == parent
        uncle = grand.child[1 - side]
        if rb_is_red(uncle):
            parent.red = uncle.red = 0
            grand.red = 1
            n = grand
            parent = n.parent
            continue
        if n == parent.child[1 - side]:
            rb_rotate(root, parent, side)
            parent = n
        parent.red = 0
        grand.red = 1
        rb_rotate(root, grand, 1 - side)
        break
    root[0].red = 0

cdef inline void rb_offer(rb_node *n, u16 offer) noexcept nogil:
    n.offer = offer
    while n != NULL and n.most < offer:
        n.most = offer
        n = n.parent

cdef inline void rb_erase(rb_node **root, rb_node *n) noexcept nogil:
    cdef rb_node *out = n           # the node that leaves its place: n, or its successor, which then takes n's
    cdef rb_node *x                 # what moves up instead
    cdef rb_node *parent            # x's parent, as x may be NULL
    cdef rb_node *sibling
    cdef int side
    cdef u16 offer
    cdef bint was_red
    if n.child[0] != NULL and n.child[1] != NULL:
        out = n.child[1]
        while out.child[0] != NULL:
            out = out.child[0]
    x = out.child[0] if out.child[0] != NULL else out.child[1]
    parent = out.parent
    was_red = out.red
    if x != NULL:
        x.parent = parent
    rb_replace_child(root, parent, out, x)
    if out != n:
        if parent == n:
            parent = out
        offer = out.offer
        out[0] = n[0]
        out.offer = offer
        rb_replace_child(root, n.parent, n, out)
        for side in range(2):
            if out.child[side] != NULL:
                out.child[side].parent = out
    if was_red:
        return
    while parent != NULL and not rb_is_red(x):
        side = parent.child[0] != x
        sibling = parent.child[1 - side]
        if sibling.red:
            sibling.red = 0
            parent.red = 1
            rb_rotate(root, parent, side)
            sibling = parent.child[1 - side]
        if not rb_is_red(sibling.child[0]) and not rb_is_red(sibling.child[1]):
            sibling.red = 1
            x = parent
            parent = x.parent
            continue
        if not rb_is_red(sibling.child[1 - side]):
            sibling.child[side].red = 0
            sibling.red = 1
            rb_rotate(root, sibling, 1 - side)
            sibling = parent.child[1 - side]
        sibling.red = parent.red
        parent.red = 0
        sibling.child[1 - side].red = 0
        rb_rotate(root, parent, side)
        return
    if x != NULL:
        x.red = 0

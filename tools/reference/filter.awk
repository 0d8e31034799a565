# A header as Doxygen wants to read it, line by line, so that its warnings name the right ones:
#   - the comment that a file opens with is the file's;
#   - Thread:, Blocks:, Errors: and the other fixed words become headings (@word{}, see Doxyfile);
#   - a comment behind a field or an enumerator is its documentation;
#   - declarations that follow each other without a blank line share the comment above the first.

BEGIN { words = "Ownership|Thread|Blocks|Ordering|Errors|Cost|Returns|Bounds|Times" }

FNR == 1 { sub(/^\/\*+/, "/** @file\n *") }

/^\/\*\*/ { first = ""; documented = 1 }
/^$/ { first = ""; documented = 0 }

documented && /^(WEIR_|typedef )/ {
    if (first != "")
        $0 = "/** @copydoc " first " */ " $0
    else if (match($0, /weir_[a-z0-9_]+\(/))
        first = substr($0, RSTART, RLENGTH - 1)
}

!/^#/ {
    # A name in angle brackets is no element of HTML.
    while (match($0, /<[a-z\/_-]+\.h>/))
        $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + 1, RLENGTH - 2) substr($0, RSTART + RLENGTH)
    if (match($0, /[;,] +\/\* /) && !/^ \*/)
        $0 = substr($0, 1, RSTART) " /**< " substr($0, RSTART + RLENGTH)
}

# A fixed word begins its line, or follows the end of a sentence.
/^( \*|\/\*\*| {4}\/\*\*| {5}\*) / && !/^ \*     [a-z ]/ {
    while (match($0, "(^ \\* +|\\*\\* |[.,;]  ?  +|\\. )(" words "):  *")) {
        found = substr($0, RSTART, RLENGTH)
        word = found
        gsub(/[^A-Za-z]/, "", word)
        lead = found
        sub(/[A-Z].*/, "", lead)
        $0 = substr($0, 1, RSTART - 1) lead "@word{" word "} " substr($0, RSTART + RLENGTH)
    }
}

{ print }

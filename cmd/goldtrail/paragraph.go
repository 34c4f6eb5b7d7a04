package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// narrowest is how many columns a text gets even where there are fewer.
const narrowest = 30

// paragraph writes a text behind a heading, in as many lines as it takes: unlike a table's,
// its end says as much as its beginning. A colour of "" is none.
func (e *environment) paragraph(w io.Writer, colour, heading, text string) {
	end := plain
	if colour == "" || !e.colours() {
		colour, end = "", ""
	}
	room := utf8.RuneCountInString(text)
	if e.width > 0 {
		room = max(e.width-len(heading), narrowest)
	}
	line := heading
	length := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if length > 0 && length+1+n > room {
			fmt.Fprintln(w, colour+line+end)
			line, length = strings.Repeat(" ", len(heading)), 0
		}
		if length > 0 {
			line += " "
			length++
		}
		line += word
		length += n
	}
	fmt.Fprintln(w, colour+strings.TrimRight(line, " ")+end)
}

// say writes a sentence.
func (e *environment) say(w io.Writer, format string, args ...any) {
	e.paragraph(w, "", "", fmt.Sprintf(format, args...))
}

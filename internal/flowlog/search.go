package flowlog

import "strconv"

// Texts that are part of a line, for LogQL's `|=`, which is quick. They spare reading
// records; who reads must still look.

// PortText is part of the line of every flow record and rollup with that port.
func PortText(port int64) string { return " " + strconv.FormatInt(port, 10) + "/" }

// SourceText is part of the line of every rollup with that source identity, and of no
// other rollup's.
func SourceText(identity string) string {
	return " " + string(appendToken(nil, identity, 0)) + " -> "
}

// DestinationText is SourceText for the destination.
func DestinationText(identity string) string {
	return " -> " + string(appendToken(nil, identity, 0)) + " "
}

// ActionText is part of the line of every rollup with that action.
func ActionText(action string) string { return " " + action + " " }

// FinalText is part of the line of every final rollup, and of no provisional one's.
func FinalText() string { return " " + stageOf(true) + " " }

// EndpointText is part of the line of every rollup with that identity on either side.
func EndpointText(identity string) string {
	return " " + string(appendToken(nil, identity, 0)) + " "
}

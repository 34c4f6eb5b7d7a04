package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wrongFlag says what is wrong with a flag.
func wrongFlag(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		flag := invalid.GetFlag()
		if errors.Is(err, errEmpty) {
			return usagef("'--%s' is %w; is a variable of your shell unset?", flag.Name, errEmpty)
		}
		if rule, ok := flagRules[flag.Value.Type()]; ok {
			return usagef("'--%s' is %q: must be %s; `%s --help` lists the flags", flag.Name, invalid.GetValue(), rule, cmd.CommandPath())
		}
	}
	return usagef("%w; `%s --help` lists the flags", err, cmd.CommandPath())
}

// flagRules are what the values of flags must be, by their type.
var flagRules = map[string]string{
	"bool":     "true or false",
	"duration": "a length of time, like 90s or 5m",
	"int":      "a whole number",
	"intSlice": "whole numbers, separated by commas",
}

// wrongArgs makes the error of wrong arguments one of usage.
func wrongArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; `%s --help` shows how it is used", err, cmd.CommandPath())
		}
		return nil
	}
}

// errEmpty is why notEmpty refuses a value.
var errEmpty = errors.New("empty: give it a value, or leave it out")

// notEmpty is the value of a flag that must say something: what chooses nothing would
// choose everything, and `--dst "$SERVICE"` with no such variable answer about all edges.
type notEmpty struct{ pflag.Value }

func (v notEmpty) Set(text string) error {
	parts := []string{text}
	if _, list := v.Value.(pflag.SliceValue); list {
		parts = strings.Split(text, ",")
	}
	if slices.ContainsFunc(parts, func(part string) bool { return strings.TrimSpace(part) == "" }) {
		return errEmpty
	}
	return v.Value.Set(text)
}

// refuseEmpty makes flags refuse what is empty.
func refuseEmpty(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		flag := flags.Lookup(name)
		flag.Value, flag.DefValue = notEmpty{flag.Value}, "" // [] would be shown as a default
	}
}

// completeFiles makes the shell complete flags with names of files.
func completeFiles(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)))
	}
}

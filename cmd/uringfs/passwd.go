//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/uringfs/uringfs/internal/passwd"
)

func passwdCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "make, change and remove the users of a share",
		Long: "The password comes from the terminal, or is one line on standard input. The file holds NT hashes, which are as good\n" +
			"as passwords: its mode is 0600, and a server refuses one that others may read.",
	}
	cmd.PersistentFlags().StringVar(&file, "file", "uringfs.passwd", "password file")
	cmd.AddCommand(
		&cobra.Command{
			Use: "set USER", Short: "make a user or change its password", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				return passwd.Set(file, args[0], password)
			},
		},
		&cobra.Command{
			Use: "delete USER", Short: "remove a user", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return passwd.Delete(file, args[0]) },
		},
	)
	return cmd
}

// readPassword asks twice on a terminal, and takes one line from anything else.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		var typed [2]string
		for i, text := range []string{"Password: ", "Again: "} {
			fmt.Fprint(prompt, text)
			b, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(prompt)
			if err != nil {
				return "", fmt.Errorf("password: %w", err)
			}
			typed[i] = string(b)
		}
		if typed[0] != typed[1] {
			return "", errors.New("the two passwords differ")
		}
		return typed[0], nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usage("no password: type one, or give one line on standard input")
	}
	return line, nil
}

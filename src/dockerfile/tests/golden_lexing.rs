use super::{Expect, check_all};

#[rustfmt::skip]
const CASES: &[(&str, &str, Expect)] = &[
    ("err-add-none", r"FROM base:1
ADD f
", Expect::Error("dockerfile parse error on line 2: ADD requires at least two arguments, but only one was provided. Destination could not be determined")),
    ("err-comments", r"# nothing

# here
", Expect::Error("file with no instructions")),
    ("err-empty", r"", Expect::Error("the Dockerfile cannot be empty")),
    ("err-first", r"RUN true
FROM base:1
", Expect::Error("no build stage in current context")),
    ("err-late-fail", r"FROM base:1
COPY f /f
RUN cat /f && test -e /nope
", Expect::Instructions(3)),
    ("err-run-empty", r"FROM base:1
RUN
ENV A=b
", Expect::Instructions(3)),
    ("err-unclosed-quote", r#"FROM base:1
ENV A="open
"#, Expect::Instructions(2)),
    ("err-unknown", r"FROM base:1
FETCH x y
", Expect::Error("dockerfile parse error on line 2: unknown instruction: FETCH")),
    ("err-unused-syntax", r"FROM base:1 AS unused
NONSENSE
FROM base:1
", Expect::Error("dockerfile parse error on line 2: unknown instruction: NONSENSE")),
    ("err-user-empty", r"FROM base:1
USER
", Expect::Error("dockerfile parse error on line 2: USER requires exactly one argument")),
    ("lex-bom", "\u{FEFF}FROM base:1
ENV A=b
", Expect::Instructions(2)),
    ("lex-case", "   from base:1
  # indented comment
\trUn echo hi > /a
\t cOpY f /f
 env A=b
label X=y
 Cmd [\"x\"]
eXpose 80
", Expect::Instructions(7)),
    ("lex-check-directive", r"# check=skip=all
# escape=`
from base:1 as Mixed
RUN echo `
 hi > /a
", Expect::Instructions(2)),
    ("lex-comment-in-word", r##"FROM base:1
RUN echo a # shell comment
RUN echo "#not" > /a#b
ENV A=a#b B=#c
LABEL c="# d"
CMD echo # e
"##, Expect::Instructions(6)),
    ("lex-continuation", r#"FROM base:1
RUN echo a \
# a comment
   # an indented comment

   b \

   c > /out
ENV X=1 \
# again
    Y=2 \
    Z="3 \
4"
"#, Expect::Instructions(3)),
    ("lex-crlf", "# comment\r
FROM base:1\r
ENV A=1 \\\r
  B=2\r
\r
RUN echo x \\\r
   y > /out\r
COPY f /g\r
CMD [\"a\", \"b\"]\r
", Expect::Instructions(5)),
    ("lex-empty-lines", "

# c

FROM\tbase:1


\tENV\tA=b\t C=d

RUN\techo\t'a\tb'\t>\t/a
#end
WORKDIR   /w \x20", Expect::Instructions(4)),
    ("lex-escape-backtick", r#"# escape=`
FROM base:1
RUN echo one `
  two > /a
ENV W=C:\dir\sub Q=a`"b
LABEL l="x`"y"
RUN printf '%s\n' "back\slash" > /b
COPY f `
  /dst/
"#, Expect::Instructions(6)),
    ("lex-flag-novalue", r"FROM base:1
COPY --chown f /a
", Expect::Error("dockerfile parse error on line 2: missing a value on flag: --chown (write --chown=VALUE)")),
    ("lex-flag-twice", r"FROM base:1
COPY --chown=1 --chown=2 f /a
", Expect::Error("dockerfile parse error on line 2: duplicate flag specified: --chown")),
    ("lex-flag-unknown", r"FROM base:1
COPY --nope=1 f /a
", Expect::Error("dockerfile parse error on line 2: unknown flag: --nope")),
    ("lex-flags", r#"FROM base:1
COPY --chown=app:app --chmod=600 f /a
COPY --chmod="640" f /b
COPY -- f /c
RUN --network=none echo d > /d
"#, Expect::Instructions(5)),
    ("lex-heredoc-copy-modes", r"FROM base:1
WORKDIR /w
COPY <<rel.txt .
x
rel.txt
COPY --chown=app:staff --chmod=640 <<EOF sub/dir/f
owned
EOF
ADD <<a <<b /two/
A
a
B
b
COPY f <<g /mix/
text
g
COPY <<EOF /empty
EOF
", Expect::Instructions(7)),
    ("lex-heredoc-dash", "FROM base:1
COPY <<-EOF /a
\tone
\t\ttwo
\t  three
  four
\tEOF
COPY <<-\"EOF\" /b
\t\tq
\tEOF
COPY <<EOF /c
\tkept
EOF
RUN <<-EOF
\techo run > /d
\tEOF
", Expect::Instructions(5)),
    ("lex-heredoc-open", r"FROM base:1
RUN <<EOF
echo hi
", Expect::Error("dockerfile parse error on line 2: unterminated heredoc")),
    ("lex-heredoc-quoted", r#"FROM base:1
ARG A=arg
ENV E=env
COPY <<EOF /plain
$A ${E} ${N:-none} \$A "$A" '$A' $(id) \\ end
EOF
COPY <<"EOF" /double
$A ${E} \$A
EOF
COPY <<'EOF' /single
$A ${E} \$A
EOF
COPY <<E"O"F /part
$A
EOF
"#, Expect::Instructions(7)),
    ("lex-heredoc-run", r#"FROM base:1
ENV V=value
RUN <<EOF
echo "first $V" > /a
cd /opt
pwd >> /a
false
echo "goes on" >> /a
EOF
RUN <<EOF cat > /b
text $V $(echo sub) `echo back`
EOF
RUN <<'EOF' cat > /c
text $V $(echo sub)
EOF
"#, Expect::Instructions(5)),
    ("lex-heredoc-several", r#"FROM base:1
RUN cat <<A > /a && cat <<B > /b
in a
A
in b
B
COPY <<one.txt <<"two.txt" /d/
1 $PATH
one.txt
2 $PATH
two.txt
RUN cat <<X - <<Y > /c
x
X
y
Y
"#, Expect::Instructions(4)),
    ("lex-heredoc-shebang", "FROM base:1
RUN <<EOF
#!/bin/awk -f
BEGIN { print \"from awk\" > \"/a\" }
EOF
RUN <<EOF
#!/bin/ash -eu
echo $- | grep -c e > /b
EOF
RUN <<-EOF
\t#!/bin/sh
\techo dash > /c
EOF
", Expect::Instructions(4)),
    ("lex-json", r#"FROM base:1
RUN ["sh", "-c", "echo $0 $1 > /a", "zero", "one two"]
RUN   [  "touch" ,"/b c" ]
COPY ["sp ace.txt", "/d ir/"]
ADD ["f", "sp ace.txt", "/e/"]
VOLUME ["/v1", "/v 2"]
SHELL ["/bin/ash", "-xec"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["a", "b c", "d\"e", "\u00e9\t"]
"#, Expect::Instructions(9)),
    ("lex-json-fallback", r#"FROM base:1
VOLUME [/a, /b]
ENTRYPOINT ['single', 'quotes']
CMD [ "a", b ]
HEALTHCHECK CMD ["x", 'y']
"#, Expect::Instructions(5)),
    ("lex-one-line", r"FROM base:1", Expect::Instructions(1)),
    ("lex-unicode", r#"FROM base:1
ENV GRÜSSE="señor ☃" U=日本
LABEL "ключ"="значение"
COPY größe.txt /目录/
RUN echo "$U" > /目录/out
WORKDIR /ünï
"#, Expect::Instructions(6)),
];

#[test]
fn golden_cases() {
    check_all(CASES);
}

use super::{Expect, check_all};

#[rustfmt::skip]
const CASES: &[(&str, &str, Expect)] = &[
    ("exp-arg-empty", r#"FROM base:1
ARG A=default
ARG B=default
LABEL l="$A|$B|${A:-x}|${A-y}"
RUN echo "[$A][$B]" > /a
"#, Expect::Instructions(5)),
    ("exp-arg-env", r"FROM base:1
ENV X=env
ARG X=arg
LABEL a=$X
RUN echo $X > /a
ARG Y=arg
ENV Y=env-$Y
LABEL b=$Y
RUN echo $Y > /b
ARG Y=again
RUN echo $Y > /c
", Expect::Instructions(11)),
    ("exp-arg-from-default", r"ARG EMPTY=
FROM ${UNSET:-base:1} AS a
FROM ${EMPTY:-a}
LABEL x=y
", Expect::Instructions(4)),
    ("exp-arg-global", r#"ARG NAME=base
ARG TAG=1
ARG BOTH=${NAME}:${TAG}
FROM ${BOTH}
LABEL before="x${TAG}x"
ARG TAG
LABEL after="x${TAG}x"
ARG NAME=changed
LABEL name=$NAME both=x$BOTH
"#, Expect::Instructions(9)),
    ("exp-arg-global-override", r#"ARG NAME=links
ARG V=global
FROM $NAME:1
ARG V
ARG W=stage
LABEL v=$V w=$W
RUN echo "$V $W $NAME" > /a
"#, Expect::Instructions(7)),
    ("exp-arg-multi", r#"FROM base:1
ARG a=1 b=2 c
ARG d=$a e="x $b" f='$a' g
LABEL l="$a|$b|$c|$d|$e|$f|$g"
RUN echo "$a|$b|$c|$d|$e|$f|$g|${c-unset}|${g-unset}" > /a
"#, Expect::Instructions(5)),
    ("exp-arg-platform", r#"FROM --platform=$BUILDPLATFORM base:1 AS b
ARG TARGETPLATFORM
ARG TARGETOS TARGETARCH TARGETVARIANT
ARG BUILDPLATFORM BUILDOS BUILDARCH
LABEL t="$TARGETPLATFORM $TARGETOS $TARGETARCH [$TARGETVARIANT]" b="$BUILDPLATFORM $BUILDOS $BUILDARCH"
RUN echo "$TARGETPLATFORM $BUILDPLATFORM $TARGETOS/$TARGETARCH" > /a
FROM base:1
COPY --from=b /a /a
LABEL undeclared="x$TARGETARCH"
RUN echo "x$TARGETARCH" > /b
"#, Expect::Instructions(10)),
    ("exp-arg-proxy", r#"FROM base:1
RUN echo "$http_proxy|$NO_PROXY|$FTP_PROXY" > /a
LABEL l="x$http_proxy"
ARG NO_PROXY
LABEL m="x$NO_PROXY"
"#, Expect::Instructions(5)),
    ("exp-arg-scope", r#"FROM base:1 AS one
LABEL before=x$A
ARG A=a
LABEL after=x$A
RUN echo "A=$A" > /one
FROM one AS two
LABEL child=x$A
RUN echo "A=$A" > /two
FROM base:1 AS three
COPY --from=two /one /two /
LABEL other=x$A
RUN echo "A=$A" > /three
"#, Expect::Instructions(12)),
    ("exp-bad-modifier", r"FROM base:1
ENV A=${B:~x}
", Expect::Instructions(2)),
    ("exp-env-bad", r"FROM base:1
ENV a=b c
", Expect::Error("dockerfile parse error on line 2: Syntax error - can't find = in \"c\". Must be of the form: name=value")),
    ("exp-env-forms", r#"FROM base:1
ENV one a b   c
ENV two "quoted text" 'and more'
ENV three a=b
ENV k1=v1 k2="v 2" k3=v\ 3 k4='v "4"' k5="v '5'" k6=
ENV k7="" k8='' k9=a"b"'c'd
"#, Expect::Instructions(6)),
    ("exp-env-one", r"FROM base:1
ENV abc
", Expect::Error("dockerfile parse error on line 2: ENV must have two arguments")),
    ("exp-env-order", r#"FROM base:1
ENV abc=hello
ENV abc=bye def=$abc
ENV ghi=$abc abc=$abc$abc
ENV PATH=/extra:$PATH NEW=$PATH
RUN echo "$abc $def $ghi" > /a
"#, Expect::Instructions(6)),
    ("exp-env-run", r#"FROM base:1
ENV A="two  spaces" B='single "q"' C=back\\slash D="" E="a=b"
RUN printf '%s|' "$A" "$B" "$C" "${D-unset}" "$E" > /a
"#, Expect::Instructions(3)),
    ("exp-escape", r#"FROM base:1
ENV V=val
LABEL a=\$V b='$V' c="$V" d="\$V" e=\\$V f=$V_x g=${V}_x h="'$V'" i='"$V"' j=x'$V'"$V"$V
LABEL k="a\\b" l=a\ b m="a\"b" n='a\b' o="a\nb" p="\a"
"#, Expect::Instructions(4)),
    ("exp-forms", r#"FROM base:1
ENV S=set E=""
LABEL a1=${S:-d} a2=${E:-d} a3=${U:-d} b1=${S-d} b2=${E-d} b3=${U-d}
LABEL c1=${S:+alt} c2=${E:+alt} c3=${U:+alt} d1=${S+alt} d2=${E+alt} d3=${U+alt}
LABEL e1=${S:?no} e2=${S?no} e3=${E?no}
LABEL f1="${S:-a b}" f2="${U:-a b}" f3=${U:-} f4=$U f5=x${U}y f6=${S}${S}
"#, Expect::Instructions(6)),
    ("exp-from-blank", r"FROM $UNSET
", Expect::Instructions(1)),
    ("exp-heredoc-run", r#"FROM base:1
ARG A=arg
ENV E="e v"
RUN <<EOF
B=shell
echo "$A|$E|$B|${U:-unset}|\$A" > /a
EOF
RUN <<"EOF"
B=shell
echo "$A|$E|$B|\$A" > /b
EOF
RUN cat > /c <<'EOF'
$A ${E}
EOF
"#, Expect::Instructions(6)),
    ("exp-label", r#"FROM base:1
ENV V=v
LABEL simple=1 "quoted key"="quoted value" a.b.c='single $V' d="multi\
line" e=x\ y
LABEL legacy the rest of the line
LABEL empty= "empty2"=""
LABEL $V=key "$V-$V"="$V"
"#, Expect::Instructions(6)),
    ("exp-label-dup", r"FROM user:1
LABEL tier=mine tier=last
LABEL x=1
LABEL x=2
LABEL y=file
", Expect::Instructions(5)),
    ("exp-not", r#"FROM base:1
ENV V=val
ENTRYPOINT ["echo", "$V"]
CMD ["${V}", "x"]
HEALTHCHECK CMD echo $V
ONBUILD RUN echo $V ${X:-y}
ONBUILD ENV Z=$V
RUN ["sh", "-c", "echo $V > /a"]
RUN ["touch", "/$V"]
SHELL ["/bin/sh", "-c", "$V"]
"#, Expect::Instructions(10)),
    ("exp-pattern", r"FROM base:1
ENV F=archive.tar.gz P=/usr/local/lib/x.so X=aXbXc
LABEL a=${F#*.} b=${F##*.} c=${F%.*} d=${F%%.*}
LABEL e=${P#/usr} f=${P##*/} g=${P%/*} h=${P%%/*}
LABEL i=${X/X/-} j=${X//X/-} k=${X//X/} l=${X/nope/-}
", Expect::Instructions(5)),
    ("exp-required-empty", r"FROM base:1
ENV E=
ENV A=${E:?missing}
", Expect::Instructions(3)),
    ("exp-required-unset", r"FROM base:1
ENV A=${NOPE:?please set it}
", Expect::Error("dockerfile parse error on line 2: Syntax error - can't find = in \"set\". Must be of the form: name=value")),
    ("exp-unclosed", r"FROM base:1
ENV A=${B
", Expect::Instructions(2)),
    ("exp-where", r#"FROM base:1
ARG D=dir N=80
ENV U=app V=vol S=SIGINT
WORKDIR /$D/${D}2
COPY $D/f.txt ./$N/
ADD ${D}/f.txt /added-$N
EXPOSE $N ${N}1/udp
VOLUME /$V
VOLUME ["/$V/json"]
USER $U
STOPSIGNAL $S
LABEL $D="$N" "k$N"=1
"#, Expect::Instructions(12)),
];

#[test]
fn golden_cases() {
    check_all(CASES);
}

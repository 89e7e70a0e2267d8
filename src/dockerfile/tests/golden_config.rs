use super::{Expect, check_all};

#[rustfmt::skip]
const CASES: &[(&str, &str, Expect)] = &[
    ("cfg-args-label", r"FROM base:1
ARG A
LABEL from=file a=$A
", Expect::Instructions(3)),
    ("cfg-cmd-empty", r"FROM user:1
CMD []
ENTRYPOINT []
", Expect::Instructions(3)),
    ("cfg-cmd-entrypoint", r#"FROM base:1
ENTRYPOINT ["/e"]
"#, Expect::Instructions(2)),
    ("cfg-cmd-kept", r#"FROM base:1
CMD ["mine"]
ENTRYPOINT ["/e"]
"#, Expect::Instructions(3)),
    ("cfg-cmd-shell", r#"FROM base:1
ENTRYPOINT exec top -b
CMD echo  two   spaces  "quoted" $X
"#, Expect::Instructions(3)),
    ("cfg-cmd-twice", r#"FROM base:1
CMD a
CMD b
ENTRYPOINT ["a"]
ENTRYPOINT b
"#, Expect::Instructions(5)),
    ("cfg-env", r#"FROM base:1
ENV A=1 B=2
ENV C 3 4
ENV A=changed
ENV D="q\"q" E='$A'
ENV PATH=$PATH:/more
"#, Expect::Instructions(6)),
    ("cfg-expose", r"FROM base:1
EXPOSE 80
EXPOSE 443/tcp 53/udp 53/TCP
EXPOSE 8000-8003 9000-9001/udp
EXPOSE 80/tcp 132/sctp
ARG P=7000
EXPOSE $P ${P}/udp
", Expect::Instructions(7)),
    ("cfg-expose-bad", r"FROM base:1
EXPOSE abc
", Expect::Instructions(2)),
    ("cfg-expose-bad-range", r"FROM base:1
EXPOSE 90-80
", Expect::Instructions(2)),
    ("cfg-health", r#"FROM base:1
HEALTHCHECK --interval=1m30s --timeout=2s --start-period=500ms --start-interval=3s --retries=5 CMD curl -f "http://x/$Y" || exit 1
"#, Expect::Instructions(2)),
    ("cfg-health-bad", r"FROM base:1
HEALTHCHECK TEST x
", Expect::Error("dockerfile parse error on line 2: Unknown type \"TEST\" in HEALTHCHECK (try CMD)")),
    ("cfg-health-exec", r#"FROM base:1
HEALTHCHECK CMD first
HEALTHCHECK --retries=1 CMD ["/bin/check", "a b"]
"#, Expect::Instructions(3)),
    ("cfg-health-nocmd", r"FROM base:1
HEALTHCHECK CMD
", Expect::Error("dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD")),
    ("cfg-health-none", r"FROM user:1
HEALTHCHECK NONE
", Expect::Instructions(2)),
    ("cfg-inherit-reset", r#"FROM user:1
USER 0
WORKDIR /
ENV GREETING= EMPTY=full
ENTRYPOINT ["/bin/sh"]
STOPSIGNAL SIGTERM
SHELL ["/bin/sh", "-c"]
EXPOSE 80/udp
VOLUME /vol
RUN id -u > /a; pwd >> /a
"#, Expect::Instructions(10)),
    ("cfg-label", r#"FROM user:1
LABEL tier=top new="a b" \
  more='x y'
LABEL maintainer=me
"#, Expect::Instructions(3)),
    ("cfg-label-bad", r"FROM base:1
LABEL lonely
", Expect::Error("dockerfile parse error on line 2: LABEL must have two arguments")),
    ("cfg-label-inherit-stage", r#"FROM base:1 AS s
LABEL from=s
ENV Key=1 KEY=2
RUN echo "$Key $KEY" > /a
FROM s
LABEL own=1
ENV key=3
RUN echo "$Key $KEY $key" > /b
"#, Expect::Instructions(8)),
    ("cfg-maintainer", r"FROM base:1
MAINTAINER Some One <one@example.org>
", Expect::Instructions(2)),
    ("cfg-onbuild", r#"FROM base:1
ONBUILD RUN exit 1
ONBUILD COPY . /x
onbuild  env  A=b   c=d
ONBUILD ENTRYPOINT ["a",  "b"]
ONBUILD RUN echo a \
  b
"#, Expect::Instructions(6)),
    ("cfg-onbuild-forbidden", r"FROM base:1
ONBUILD ONBUILD RUN true
", Expect::Error("dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
    ("cfg-onbuild-from", r"FROM base:1
ONBUILD FROM x
", Expect::Error("dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger")),
    ("cfg-onbuild-maintainer", r"FROM base:1
ONBUILD MAINTAINER x
", Expect::Error("dockerfile parse error on line 2: MAINTAINER isn't allowed as an ONBUILD trigger")),
    ("cfg-only", r#"FROM base:1
ENV A=1
CMD ["x"]
LABEL a=b
"#, Expect::Instructions(4)),
    ("cfg-shell", r#"FROM base:1
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
CMD a | b
"#, Expect::Instructions(3)),
    ("cfg-shell-bad", r"FROM base:1
SHELL /bin/sh -c
", Expect::Error("dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form")),
    ("cfg-stopsignal", r"FROM base:1
STOPSIGNAL SIGKILL
STOPSIGNAL 9
ARG S=TERM
STOPSIGNAL SIG$S
", Expect::Instructions(5)),
    ("cfg-stopsignal-bad", r"FROM base:1
STOPSIGNAL SIGNOPE
", Expect::Instructions(2)),
    ("cfg-user", "FROM base:1
USER app:staff
FROM base:1
ENV U=www
USER $U
USER  1000:nope\x20
", Expect::Instructions(6)),
    ("cfg-volume", r#"FROM base:1
VOLUME /a /b
VOLUME ["/c", "/d e"]
VOLUME /a
RUN mkdir -p /a && echo kept > /a/f
COPY f /c/f
VOLUME /opt
RUN rm /opt/keep.txt && touch /opt/new
WORKDIR /w
VOLUME rel
"#, Expect::Instructions(10)),
    ("cfg-volume-bad", r"FROM base:1
VOLUME
", Expect::Error("dockerfile parse error on line 2: VOLUME requires at least one argument")),
    ("cfg-workdir", r"FROM base:1
WORKDIR /a
WORKDIR b/../c
WORKDIR ./d/
", Expect::Instructions(4)),
    ("cfg-workdir-env", r#"FROM base:1
ENV D=/x/y
WORKDIR rel
WORKDIR ${D}/${U:-z}
WORKDIR "$D with space"
"#, Expect::Instructions(5)),
];

#[test]
fn golden_cases() {
    check_all(CASES);
}

python3 - <<'E'
import tarfile, io, struct
t = tarfile.open("a.tar", "w", format=tarfile.PAX_FORMAT)
i = tarfile.TarInfo("c"); i.size = 1; i.mode = 0o755
i.pax_headers = {"SCHILY.xattr.security.capability": struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0).decode("utf-8", "surrogateescape")}
t.addfile(i, io.BytesIO(b"c"))
t.close()
E

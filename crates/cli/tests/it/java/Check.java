// Reads archives with Java's two readers and prints a line for each entry:
//
//     reader TAB name TAB size TAB CRC-32 of what was read TAB modified seconds
//
// An argument is a file, for ZipFile and ZipInputStream, or "-" for ZipInputStream on the standard input.

import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.zip.*;

public class Check {
    private static final byte[] BUFFER = new byte[1 << 18];
    private static PrintStream out;

    public static void main(String[] args) throws IOException {
        var raw = new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16);
        out = new PrintStream(raw, false, StandardCharsets.UTF_8);
        for (String arg : args) {
            if (arg.equals("-")) {
                stream(System.in);
                continue;
            }
            try (var zip = new ZipFile(arg)) {
                for (var entries = zip.entries(); entries.hasMoreElements();) {
                    var entry = entries.nextElement();
                    try (var in = zip.getInputStream(entry)) {
                        print("ZipFile", entry, in);
                    }
                }
            }
            try (var in = new FileInputStream(arg)) {
                stream(in);
            }
        }
        out.flush();
    }

    private static void stream(InputStream in) throws IOException {
        var zip = new ZipInputStream(new BufferedInputStream(in, 1 << 18));
        for (ZipEntry entry; (entry = zip.getNextEntry()) != null;) {
            print("ZipInputStream", entry, zip);
        }
        // What is left has to be read, or whoever writes it cannot finish.
        while (in.read(BUFFER) >= 0) {}
    }

    private static void print(String reader, ZipEntry entry, InputStream in) throws IOException {
        var crc = new CRC32();
        long size = 0;
        for (int n; (n = in.read(BUFFER)) > 0;) {
            crc.update(BUFFER, 0, n);
            size += n;
        }
        // Known by now, whichever reader this is.
        if (entry.getCrc() != -1 && entry.getCrc() != crc.getValue() || entry.getSize() != -1 && entry.getSize() != size) {
            throw new IOException(entry.getName() + ": size or CRC-32 differ from what the archive says");
        }
        long modified = entry.getLastModifiedTime().toMillis() / 1000;
        out.printf("%s\t%s\t%d\t%08x\t%d%n", reader, entry.getName(), size, crc.getValue(), modified);
    }
}

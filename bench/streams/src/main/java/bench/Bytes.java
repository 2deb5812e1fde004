package bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** A growing buffer that is written to, and a cursor that reads what was written. */
final class Bytes {
    byte[] array;
    int at;

    Bytes(byte[] array) {
        this.array = array;
    }

    byte[] copy() {
        return Arrays.copyOf(array, at);
    }

    void room(int bytes) {
        if (at + bytes > array.length) {
            array = Arrays.copyOf(array, Math.max(array.length * 2, at + bytes));
        }
    }

    void put(byte value) {
        room(1);
        array[at++] = value;
    }

    void put(byte[] bytes) {
        room(bytes.length);
        System.arraycopy(bytes, 0, array, at, bytes.length);
        at += bytes.length;
    }

    /** A text as it is, in UTF-8. */
    void ascii(String text) {
        int length = text.length();
        room(length);
        for (int place = 0; place < length; place++) {
            char letter = text.charAt(place);
            if (letter >= 0x80) {
                put(text.substring(place).getBytes(StandardCharsets.UTF_8));
                return;
            }
            array[at++] = (byte) letter;
        }
    }

    /** A whole number in digits. */
    void digits(long value) {
        if (value < 0) {
            ascii(Long.toString(value));
            return;
        }
        room(20);
        int length = 1;
        for (long rest = value; rest >= 10; rest /= 10) {
            length++;
        }
        int end = at + length;
        for (int place = end - 1; place >= at; place--) {
            array[place] = (byte) ('0' + value % 10);
            value /= 10;
        }
        at = end;
    }

    /** With so many digits at least. */
    void digits(int value, int least) {
        room(least);
        for (int place = at + least - 1; place >= at; place--) {
            array[place] = (byte) ('0' + value % 10);
            value /= 10;
        }
        at += least;
    }

    void whole(long value) {
        long rest = (value << 1) ^ (value >> 63);
        room(10);
        while ((rest & ~0x7FL) != 0) {
            array[at++] = (byte) (rest | 0x80);
            rest >>>= 7;
        }
        array[at++] = (byte) rest;
    }

    long whole() {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte part = array[at++];
            value |= (part & 0x7FL) << shift;
            if (part >= 0) {
                return (value >>> 1) ^ -(value & 1);
            }
        }
    }

    void fixed(long value) {
        room(8);
        for (int place = 0; place < 8; place++) {
            array[at++] = (byte) (value >>> (56 - 8 * place));
        }
    }

    long fixed() {
        long value = 0;
        for (int place = 0; place < 8; place++) {
            value = value << 8 | array[at++] & 0xFF;
        }
        return value;
    }

    /** A text that may be null, behind its length. */
    void text(String text) {
        if (text == null) {
            whole(-1);
            return;
        }
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        whole(bytes.length);
        put(bytes);
    }

    String text() {
        int length = (int) whole();
        if (length < 0) {
            return null;
        }
        at += length;
        return new String(array, at - length, length, StandardCharsets.UTF_8);
    }
}

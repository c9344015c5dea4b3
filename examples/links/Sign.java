import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Signs a link: java Sign.java KEY-ID KEY BASE PATH [MEMBER=JSON]…
 *
 * <pre>java Sign.java 2026-11 "$KEY" https://example.org /t/abc/ 'recipient="anna@example.org"' expires=1767225600</pre>
 */
class Sign {
    public static void main(String[] args) throws Exception {
        var terms = "{\"key\":\"%s\",\"id\":\"%s\",\"scope\":\"%s\"".formatted(args[0], UUID.randomUUID(), args[3]);
        for (var member : Arrays.asList(args).subList(4, args.length)) {
            var parts = member.split("=", 2);
            terms += ",\"%s\":%s".formatted(parts[0], parts[1]);
        }
        var base64url = Base64.getUrlEncoder().withoutPadding();
        var payload = base64url.encodeToString((terms + "}").getBytes(StandardCharsets.UTF_8));
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(Base64.getDecoder().decode(args[1]), "HmacSHA256"));
        var signature = mac.doFinal(("outflow-link-v1." + payload).getBytes(StandardCharsets.UTF_8));
        System.out.println(args[2] + "/l/" + payload + "." + base64url.encodeToString(signature) + args[3]);
    }
}

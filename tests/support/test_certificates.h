#pragma once

#include <filesystem>

namespace vitower {

// Writes NAME.pem and NAME.key for each of: ca and other-ca; server, server-new, server-expired, client and
// client-expired, which ca has signed; server-other and client-other, which other-ca has; server-only, which ca
// has signed for servers alone. Servers are for localhost,
// 127.0.0.1 and vitower.test. And server-locked.key: server.key under a password.
void WriteTestCertificates(const std::filesystem::path& folder);

}  // namespace vitower

#include "tests/support/test_certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace vitower {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

struct Identity {
  Key key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  Certificate certificate{X509_new(), X509_free};
};

void AddExtension(X509& certificate, int id, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, id, value);
  X509_add_ext(&certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Valid from two days ago until `days` from now. `issuer` null: signed by itself, a CA. `usage` null: for anything.
Identity Issue(const std::string& name, const Identity* issuer, int days, const char* usage = nullptr) {
  constexpr long kDay = 24L * 60 * 60;
  static long serial = 1;
  Identity made;
  X509& certificate = *made.certificate;
  X509_set_version(&certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(&certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(&certificate), -2 * kDay);
  X509_gmtime_adj(X509_getm_notAfter(&certificate), days * kDay);
  X509_set_pubkey(&certificate, made.key.get());
  X509_NAME* subject = X509_get_subject_name(&certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(&certificate, issuer != nullptr ? X509_get_subject_name(issuer->certificate.get()) : subject);
  AddExtension(certificate, NID_basic_constraints, issuer != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
  if (issuer != nullptr) AddExtension(certificate, NID_subject_alt_name, "DNS:localhost,DNS:vitower.test,IP:127.0.0.1");
  if (usage != nullptr) AddExtension(certificate, NID_ext_key_usage, usage);
  X509_sign(&certificate, issuer != nullptr ? issuer->key.get() : made.key.get(), EVP_sha256());
  return made;
}

std::FILE* Create(const std::filesystem::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) std::abort();
  std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  return file;
}

void WriteKey(const std::filesystem::path& path, const Identity& identity, const char* password) {
  std::FILE* file = Create(path);
  PEM_write_PrivateKey(file, identity.key.get(), password != nullptr ? EVP_aes_256_cbc() : nullptr, nullptr, 0, nullptr,
                       const_cast<char*>(password));
  std::fclose(file);
}

void Write(const std::filesystem::path& folder, const std::string& name, const Identity& identity) {
  std::FILE* file = Create(folder / (name + ".pem"));
  PEM_write_X509(file, identity.certificate.get());
  std::fclose(file);
  WriteKey(folder / (name + ".key"), identity, nullptr);
}

}  // namespace

void WriteTestCertificates(const std::filesystem::path& folder) {
  const Identity ca = Issue("ca", nullptr, 30);
  const Identity other_ca = Issue("other-ca", nullptr, 30);
  Write(folder, "ca", ca);
  Write(folder, "other-ca", other_ca);
  const Identity server = Issue("server", &ca, 30);
  Write(folder, "server", server);
  WriteKey(folder / "server-locked.key", server, "open sesame");
  for (const char* name : {"server-new", "client"}) Write(folder, name, Issue(name, &ca, 30));
  Write(folder, "server-only", Issue("server-only", &ca, 30, "serverAuth"));
  for (const char* name : {"server-expired", "client-expired"}) Write(folder, name, Issue(name, &ca, -1));
  for (const char* name : {"server-other", "client-other"}) Write(folder, name, Issue(name, &other_ca, 30));
}

}  // namespace vitower

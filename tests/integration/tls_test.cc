#include <gmock/gmock.h>

#include <ctime>
#include <filesystem>
#include <string>

#include "tests/integration/secure_fixture.h"
#include "tests/support/raw_stream.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

using TlsTest = SecureTest;

TEST_F(TlsTest, CallsAreTakenFromWhoTrustsTheServersCa) {
  ServeTls();
  EXPECT_EQ(Call(Tls("ca")), StatusCode::OK);
  EXPECT_EQ(CheckHealth(Tls("ca"), ""), Health::kServing);
  EXPECT_EQ(Call(Tls("other-ca")), StatusCode::UNAVAILABLE);
  AwaitMetric("vitower_request_duration_seconds_count{code=\"OK\",method=\"Embed\"}", 1);
}

TEST_F(TlsTest, TheServersNameIsChecked) {
  ServeTls();
  EXPECT_EQ(Call(Tls("ca", "", "vitower.test")), StatusCode::OK);
  EXPECT_EQ(Call(Tls("ca", "", "vitower.example")), StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, WithAClientCaNoHandlerRunsForACertificateThatIsMissingExpiredOfAnotherCaOrForServersOnly) {
  options_.tls_client_ca = Path("ca.pem");
  ServeTls();
  for (const char* client : {"", "client-expired", "client-other", "server-only"}) {
    EXPECT_EQ(Call(Tls("ca", client)), StatusCode::UNAVAILABLE) << client;
    EXPECT_EQ(CheckHealth(Tls("ca", client), ""), Health::kUnknown) << client;
  }
  EXPECT_EQ(RequestsSeen(), 0);
  EXPECT_EQ(Metric("vitower_bytes_received_total"), 0);
  EXPECT_EQ(Call(Tls("ca", "client")), StatusCode::OK);
  AwaitMetric("vitower_request_duration_seconds_count{code=\"OK\",method=\"Embed\"}", 1);
}

TEST_F(TlsTest, PlainTextOnATlsPortAndTlsOnAPlainOneGetNoAnswer) {
  ServeTls();
  EXPECT_EQ(Call(NewChannel()), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(Tls("ca")), StatusCode::OK);
  Stop();
  options_.tls_cert = options_.tls_key = "";
  Serve();
  EXPECT_EQ(Call(Tls("ca")), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(NewChannel()), StatusCode::OK);
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreRefusedByName) {
  const auto refusal = [this](const std::string& cert, const std::string& key, const std::string& ca = "") {
    options_.tls_cert = Path(cert);
    options_.tls_key = Path(key);
    options_.tls_client_ca = ca.empty() ? "" : Path(ca);
    const auto server = TryStart();
    EXPECT_EQ(CheckLocks(options_), server.status());
    return std::string(server.status().message());
  };
  EXPECT_THAT(refusal("nowhere.pem", "server.key"), HasSubstr("--tls-cert: cannot read " + Path("nowhere.pem")));
  EXPECT_THAT(refusal("server.pem", "nowhere.key"), HasSubstr("--tls-key: cannot read " + Path("nowhere.key")));
  EXPECT_THAT(refusal("server.key", "server.key"), HasSubstr("is no PEM file of certificates"));
  EXPECT_THAT(refusal("server.pem", "server.pem"), HasSubstr("is no PEM file of a private key"));
  EXPECT_THAT(refusal("server.pem", "server-locked.key"), HasSubstr("without a password"));
  EXPECT_THAT(refusal("server.pem", "client.key"),
              HasSubstr("client.key is not the key of the certificate --tls-cert"));
  EXPECT_THAT(refusal("server-expired.pem", "server-expired.key"), HasSubstr("server-expired.pem expired on 20"));
  EXPECT_THAT(refusal("server.pem", "server.key", "server.key"), HasSubstr("--tls-client-ca: " + Path("server.key")));
  EXPECT_EQ(refusal("server.pem", "server.key", "ca.pem"), "");
}

TEST_F(TlsTest, ABadNewFileIsToldOfAndTheOldOneStaysInUse) {
  ServeTls();
  std::filesystem::copy_file(Path("client.key"), Path("live.key"), kReplace);
  AwaitMetric("vitower_reloads_total{file=\"certificates\",outcome=\"refused\"}", 1);
  EXPECT_EQ(Call(Tls("ca")), StatusCode::OK);
  std::filesystem::remove(Path("live.pem"));
  AwaitMetric("vitower_reloads_total{file=\"certificates\",outcome=\"refused\"}", 2);
  EXPECT_EQ(Call(Tls("ca")), StatusCode::OK);
}

// One CA to another: who trusts the new one only is served once the new certificate is in use. Meanwhile new
// connections and calls go on.
TEST_F(TlsTest, ARotationOfCertificatesUnderLoadDropsNothing) {
  ServeTls();
  const SteadyLoad load([this] { return Call(TlsOfAnyCa()); });
  for (const char* name : {"server-new", "server-other"}) Install(name);
  AwaitStatus(StatusCode::OK, [this] { return Call(Tls("other-ca")); });
  EXPECT_EQ(Call(Tls("ca")), StatusCode::UNAVAILABLE);
  EXPECT_GE(Metric("vitower_reloads_total{file=\"certificates\",outcome=\"used\"}"), 1);
  load.AwaitMore(4);
  EXPECT_EQ(load.failures(), "");
}

TEST_F(TlsTest, TheMetricsTellWhenTheCertificateExpires) {
  ServeTls();
  const double days =
      (Metric("vitower_tls_certificate_expiry_timestamp_seconds") - static_cast<double>(std::time(nullptr))) / 86400;
  EXPECT_NEAR(days, 30, 0.1);
}

}  // namespace
}  // namespace vitower

#include <gmock/gmock.h>

#include <atomic>
#include <fstream>
#include <string>

#include "server/gate.h"
#include "tests/integration/secure_fixture.h"
#include "tests/support/raw_stream.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;

constexpr char kAlice[] = "Bearer alice-0123456789abcdef";
constexpr char kBob[] = "Bearer bob-0123456789abcdef";
constexpr char kBothTokens[] = "alice:alice-0123456789abcdef\nbob:bob-0123456789abcdef\n";

// Whether or not the connection is encrypted: the check is made at another place then.
class TokensTest : public SecureTest, public testing::WithParamInterface<bool> {
 protected:
  TokensTest() { options_.auth_tokens = Path("tokens"); }

  void ServeWith(const std::string& tokens) {
    WriteTokens(tokens);
    options_.plain_text_tokens = !GetParam();
    if (GetParam()) {
      ServeTls();
    } else {
      Serve();
    }
  }
  std::shared_ptr<grpc::Channel> Connect() const { return GetParam() ? Tls("ca") : NewChannel(); }
  double Failures(const std::string& reason) const {
    return Metric("vitower_auth_failures_total{reason=\"" + reason + "\"}");
  }
};

INSTANTIATE_TEST_SUITE_P(Connections, TokensTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "Encrypted" : "PlainText"; });

TEST_P(TokensTest, EveryMethodIsOpenToAKnownTokenAndNoHandlerRunsForAnyOther) {
  ServeWith(kBothTokens);
  const auto channel = Connect();
  for (const char* bad : {"", "Basic YTpi", "Bearer ", "Bearer alice-0123456789abcdeg", "alice-0123456789abcdef"}) {
    EXPECT_EQ(Call(channel, bad), StatusCode::UNAUTHENTICATED) << bad;
    EXPECT_EQ(CallStream(channel, bad), StatusCode::UNAUTHENTICATED) << bad;
    EXPECT_EQ(GetInfo(channel, bad), StatusCode::UNAUTHENTICATED) << bad;
  }
  EXPECT_EQ(RequestsSeen(), 0);
  EXPECT_EQ(Metric("vitower_bytes_received_total"), 0);
  EXPECT_EQ(Failures("missing"), 3);
  EXPECT_EQ(Failures("malformed"), 9);
  EXPECT_EQ(Failures("unknown"), 3);
  for (const char* good : {kAlice, kBob, "bearer alice-0123456789abcdef"}) {
    EXPECT_EQ(Call(channel, good), StatusCode::OK) << good;
    EXPECT_EQ(CallStream(channel, good), StatusCode::OK) << good;
    EXPECT_EQ(GetInfo(channel, good), StatusCode::OK) << good;
  }
  AwaitMetric("vitower_request_duration_seconds_count{code=\"OK\",method=\"Embed\"}", 3);
}

TEST_P(TokensTest, HealthAndReflectionNeedNone) {
  ServeWith(kBothTokens);
  EXPECT_EQ(CheckHealth(Connect(), ""), Health::kServing);
  RawStream reflection(Connect(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  reflection.Write(std::string("\x3a\x00", 2));  // list_services
  EXPECT_THAT(reflection.Read().value_or(""), HasSubstr("vitower.v1.VisionEmbedder"));
}

TEST_P(TokensTest, ARevokedTokenIsRefusedAndARotationUnderLoadDropsNothing) {
  ServeWith("alice:alice-0123456789abcdef\n");
  const auto channel = Connect();
  std::atomic<const char*> token = kAlice;
  const SteadyLoad load([&] { return Call(channel, token.load()); });
  WriteTokens(kBothTokens);
  AwaitStatus(StatusCode::OK, [&] { return Call(channel, kBob); });
  token = kBob;
  load.AwaitMore(4);  // none of alice's calls is under way any more
  WriteTokens("bob:bob-0123456789abcdef\n");
  AwaitStatus(StatusCode::UNAUTHENTICATED, [&] { return Call(channel, kAlice); });
  EXPECT_EQ(load.failures(), "");
  AwaitMetric("vitower_reloads_total{file=\"tokens\",outcome=\"used\"}", 2);
}

TEST(Gate, AFileThatHasBeenEmptiedRevokesEveryToken) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "tokens";
  Metrics metrics;
  for (const char* emptied : {"", "# nobody\n"}) {
    std::ofstream(path) << kBothTokens;
    const auto gate = Gate::Create(path, metrics);
    ASSERT_TRUE(gate.ok()) << gate.status();
    EXPECT_TRUE((*gate)->Check({{"authorization", kAlice}}).ok());
    std::ofstream(path) << emptied;
    EXPECT_EQ((*gate)->Reload().value_or(true), false);
    EXPECT_EQ((*gate)->Reload().value_or(false), true);
    EXPECT_EQ((*gate)->Check({{"authorization", kAlice}}).code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(std::string(Gate::Create(path, metrics).status().message()), HasSubstr("there is no token in it"));
  }
}

TEST(Gate, WhatIsSeenOnceIsNotTaken) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "tokens";
  Metrics metrics;
  std::ofstream(path) << kBothTokens;
  const auto gate = Gate::Create(path, metrics);
  ASSERT_TRUE(gate.ok()) << gate.status();
  for (const char* half :
       {"", "alice:alice-0123456789abcdef\n", "alice:alice-0123456789abcdef\nbob:bob-01234567890000"}) {
    std::ofstream(path) << half;
    EXPECT_EQ((*gate)->Reload().value_or(true), false);
    std::ofstream(path) << kBothTokens;
    EXPECT_EQ((*gate)->Reload().value_or(true), false);
    EXPECT_TRUE((*gate)->Check({{"authorization", kBob}}).ok());
  }
}

using TokenFileTest = SecureTest;

TEST_F(TokenFileTest, ABadFileIsRefusedAtTheStartByNameAndWithoutItsText) {
  options_.plain_text_tokens = true;
  options_.auth_tokens = Path("tokens");
  EXPECT_THAT(std::string(TryStart().status().message()), HasSubstr("--auth-tokens: cannot read " + Path("tokens")));
  WriteTokens("alice:alice-0123456789abcdef\nbob:short\n");
  const std::string message(TryStart().status().message());
  EXPECT_THAT(message, HasSubstr(Path("tokens") + ": line 2: the token has 5 characters"));
  EXPECT_THAT(message, Not(HasSubstr("short")));
}

TEST_F(TokenFileTest, ReflectionCanBeTakenAway) {
  options_.reflection = false;
  Serve();
  RawStream reflection(NewChannel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  reflection.Write(std::string("\x3a\x00", 2));
  EXPECT_FALSE(reflection.Read());
  EXPECT_EQ(reflection.Finish().error_code(), StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace vitower

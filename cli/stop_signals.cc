#include "cli/stop_signals.h"

#include <pthread.h>
#include <signal.h>

#include <cstdlib>
#include <utility>

namespace vitower {
namespace {

// SIGUSR1 is how the destructor ends the waiting thread.
sigset_t WaitedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t signals = WaitedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  waiting_ = std::jthread([this] { Wait(); });
}

StopSignals::~StopSignals() {
  pthread_kill(waiting_.native_handle(), SIGUSR1);
  waiting_.join();
}

void StopSignals::OnFirst(std::function<void()> handler) {
  MutexLock lock(mu_);
  handler_ = std::move(handler);
}

void StopSignals::Wait() {
  const sigset_t signals = WaitedSignals();
  int signal = 0;
  for (bool first = true;; first = false) {
    sigwait(&signals, &signal);
    if (signal == SIGUSR1) return;
    if (!first) std::_Exit(1);
    TakeFirst();
  }
}

void StopSignals::TakeFirst() {
  std::function<void()> handler;
  {
    MutexLock lock(mu_);
    handler = std::move(handler_);
  }
  if (!handler) std::_Exit(0);
  handling_ = std::jthread(std::move(handler));
}

}  // namespace vitower

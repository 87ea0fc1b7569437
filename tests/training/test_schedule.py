"""The learning rate over the steps of a training."""

from likewise.training.schedule import scale_learning_rate


def test_the_schedule_rises_to_the_peak_and_falls_to_nothing():
    shares = [scale_learning_rate(step, 100, 0.1) for step in range(100)]
    assert shares[9] == shares[10] == 1.0
    assert shares[:10] == sorted(shares[:10]) and shares[0] > 0
    assert shares[10:] == sorted(shares[10:], reverse=True) and shares[-1] < 0.01
    assert scale_learning_rate(0, 1, 0.0) > 0 and scale_learning_rate(0, 1, 1.0) > 0
